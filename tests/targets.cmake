file(GLOB support_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/support/*.cpp)
if(support_sources)
  add_library(exodus_test_support STATIC ${support_sources})
  target_include_directories(exodus_test_support PUBLIC ${DOCTEST_INCLUDE_DIR})
  target_link_libraries(exodus_test_support PUBLIC exodus_flags exodus_base exodus_core PkgConfig::hiredis)
  target_compile_definitions(exodus_test_support PRIVATE EXODUS_BINARY_PATH="${PROJECT_BINARY_DIR}/exodus")
endif()

# The libraries that the tests of a folder link, by folder name; the default is every layer.
set(EXODUS_ALL_LAYERS exodus_families exodus_family_redis exodus_interlay exodus_workflow exodus_store exodus_config
    exodus_telemetry exodus_capture exodus_net exodus_core exodus_base)
set(LINK_base exodus_base)
set(LINK_support exodus_base)
set(LINK_resp exodus_wire_resp PkgConfig::hiredis)
set(LINK_net exodus_net)
set(LINK_store exodus_store)
set(LINK_phases exodus_workflow)
set(LINK_workflow exodus_workflow)
set(LINK_owner_report exodus_workflow exodus_config)
set(LINK_config exodus_config)
set(LINK_layers exodus_base)
set(LINK_sources exodus_base)
set(LINK_manual exodus_config)
set(LINK_commands exodus_store)
set(LINK_redis exodus_family_redis)
set(LINK_redis_session exodus_family_redis exodus_net)
set(LINK_redis_movement exodus_family_redis)
set(LINK_redis_planner exodus_family_redis)
set(LINK_stream-exact exodus_family_redis exodus_net)
set(LINK_big-keys exodus_family_redis exodus_net)
# Sources that a folder shares with another one.
set(SOURCES_big-keys ${CMAKE_CURRENT_SOURCE_DIR}/real/stream-exact/mover.cpp)
set(SOURCES_owner_report ${PROJECT_SOURCE_DIR}/cli/report_document.cpp ${PROJECT_SOURCE_DIR}/cli/report_measured.cpp
    ${PROJECT_SOURCE_DIR}/cli/report_configuration.cpp ${PROJECT_SOURCE_DIR}/cli/report_html.cpp
    ${PROJECT_SOURCE_DIR}/cli/report_markdown.cpp ${PROJECT_SOURCE_DIR}/cli/output.cpp)
set(LINK_cli_output exodus_workflow)
set(SOURCES_cli_output ${PROJECT_SOURCE_DIR}/cli/output.cpp ${PROJECT_SOURCE_DIR}/cli/progress.cpp)
set(LINK_interlay exodus_interlay)
set(LINK_telemetry exodus_telemetry)
set(LINK_redis_normalizer exodus_family_redis)
set(LINK_redis_profile exodus_family_redis)
set(LINK_capture exodus_capture exodus_family_redis)

# Seconds after which ctest ends a test; a hang is a failure, not a stuck run.
set(TIMEOUT_unit 180)
set(TIMEOUT_wire 60)
set(TIMEOUT_sim 120)
set(TIMEOUT_tidy 120)
set(TIMEOUT_interlay 180)
set(TIMEOUT_cli 180)
set(TIMEOUT_real 900)

foreach(label unit wire sim interlay real cli tidy)
  file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${CMAKE_CURRENT_SOURCE_DIR}/${label}/*)
  foreach(folder ${folders})
    if(NOT IS_DIRECTORY ${folder})
      continue()
    endif()
    get_filename_component(name ${folder} NAME)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
    if(NOT sources)
      continue()
    endif()
    set(target ${label}_${name})
    add_executable(${target} ${sources} ${SOURCES_${name}})
    if(DEFINED LINK_${name})
      target_link_libraries(${target} PRIVATE exodus_test_support ${LINK_${name}})
    else()
      target_link_libraries(${target} PRIVATE exodus_test_support ${EXODUS_ALL_LAYERS})
    endif()
    target_compile_definitions(${target} PRIVATE EXODUS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    if(EXISTS ${folder}/package.json)
      # npm packages go beside the build; node finds them through a copy of the script.
      set(EXODUS_NODE_DIR ${PROJECT_BINARY_DIR}/${target}-node)
      file(GLOB scripts CONFIGURE_DEPENDS ${folder}/*.mjs)
      target_compile_definitions(${target} PRIVATE EXODUS_CLIENTS_DIR="${EXODUS_NODE_DIR}")
      add_custom_command(OUTPUT ${EXODUS_NODE_DIR}/node_modules/.package-lock.json
        COMMAND ${CMAKE_COMMAND} -E make_directory ${EXODUS_NODE_DIR}
        COMMAND ${CMAKE_COMMAND} -E copy ${folder}/package.json ${folder}/package-lock.json ${EXODUS_NODE_DIR}
        COMMAND npm ci --prefix ${EXODUS_NODE_DIR} --silent --no-audit --no-fund --ignore-scripts
        DEPENDS ${folder}/package.json ${folder}/package-lock.json)
      add_custom_target(${target}_node DEPENDS ${EXODUS_NODE_DIR}/node_modules/.package-lock.json
        COMMAND ${CMAKE_COMMAND} -E copy ${scripts} ${EXODUS_NODE_DIR})
      add_dependencies(${target} ${target}_node)
    endif()
    if(TARGET exodus)
      target_compile_definitions(${target} PRIVATE EXODUS_BINARY="$<TARGET_FILE:exodus>")
      if(label MATCHES "real|cli|interlay")
        add_dependencies(${target} exodus)
      endif()
    endif()
    add_test(NAME ${label}.${name} COMMAND ${target})
    set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT ${TIMEOUT_${label}})
    if(label MATCHES "real")
      set_tests_properties(${label}.${name} PROPERTIES RUN_SERIAL ON)
    endif()
  endforeach()
endforeach()

# The format of every source, by the clang-format that .ci/install-packages installs.
file(GLOB_RECURSE formatted CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lib/*.cpp ${PROJECT_SOURCE_DIR}/lib/*.h ${PROJECT_SOURCE_DIR}/cli/*.cpp
     ${PROJECT_SOURCE_DIR}/cli/*.h ${PROJECT_SOURCE_DIR}/tests/*.cpp ${PROJECT_SOURCE_DIR}/tests/*.h)
add_test(NAME tidy.format COMMAND clang-format --dry-run --Werror ${formatted})
set_tests_properties(tidy.format PROPERTIES LABELS tidy TIMEOUT ${TIMEOUT_tidy})

# The dashboard's functions, without a browser.
add_test(NAME unit.dashboard COMMAND node --test ${CMAKE_CURRENT_SOURCE_DIR}/unit/dashboard/dashboard.test.mjs)
set_tests_properties(unit.dashboard PROPERTIES LABELS unit TIMEOUT ${TIMEOUT_unit})

# The example for the site's own monitoring: rules, their tests, names of metrics.
add_test(NAME tidy.monitoring COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tidy/monitoring/check.sh
         ${PROJECT_SOURCE_DIR}/man/exodus-metrics.7)
set_tests_properties(tidy.monitoring PROPERTIES LABELS tidy TIMEOUT ${TIMEOUT_tidy})

# The example whole, as the README's first command runs it, with its dashboard watched in chromium.
option(EXODUS_EXAMPLE "Run the example with its dashboard as a test (two minutes)" OFF)
if(EXODUS_EXAMPLE)
  add_test(NAME real.example
           COMMAND bash -o pipefail -c "${PROJECT_SOURCE_DIR}/examples/redis-to-valkey/run.sh --keys 30000 | node example.mjs example-pictures"
           WORKING_DIRECTORY ${PROJECT_BINARY_DIR}/interlay_dashboard-node)
  set_tests_properties(real.example PROPERTIES LABELS real TIMEOUT ${TIMEOUT_real} RUN_SERIAL ON
                       ENVIRONMENT "EXODUS_BINARY=$<TARGET_FILE:exodus>")
endif()

foreach(folder fuzz bench conformance)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt)
    add_subdirectory(${folder})
  endif()
endforeach()

# A server module for the tests of commands that the built-in table does not know.
add_library(exodus_test_module MODULE ${CMAKE_CURRENT_SOURCE_DIR}/support/modules/odd_module.cpp)
if(EXODUS_SANITIZE)
  target_compile_definitions(interlay_large-values PRIVATE EXODUS_SANITIZED)
  # A server without the sanitizer's runtime loads it.
  target_compile_options(exodus_test_module PRIVATE -fno-sanitize=all)
  target_link_options(exodus_test_module PRIVATE -fno-sanitize=all)
endif()
foreach(target interlay_sessions real_stream-exact real_pretest-checks)
  if(TARGET ${target})
    add_dependencies(${target} exodus_test_module)
    target_compile_definitions(${target} PRIVATE EXODUS_TEST_MODULE="$<TARGET_FILE:exodus_test_module>")
  endif()
endforeach()

# exodus-ledger: the load and checker that the examples use.
add_executable(exodus-ledger ${CMAKE_CURRENT_SOURCE_DIR}/support/tools/ledger_tool.cpp)
target_link_libraries(exodus-ledger PRIVATE exodus_test_support CLI11::CLI11)
set_target_properties(exodus-ledger PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
